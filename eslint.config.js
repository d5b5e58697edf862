import neostandard, { plugins } from 'neostandard'

const browser = neostandard({ env: ['browser', 'worker'] }).find(({ name }) => name === 'neostandard/globals')

export default [
  ...neostandard({ ts: true, ignores: ['dist', '.tap', '.cache', 'node_modules'] }),
  {
    files: ['**/*.ts'],
    plugins: { '@typescript-eslint': plugins['typescript-eslint'].plugin },
    rules: {
      '@typescript-eslint/consistent-type-imports': ['error', { disallowTypeAnnotations: false }],
      // `import { type A }` would still load the file when it runs; `import type { A }` does not.
      '@typescript-eslint/no-import-type-side-effects': 'error',
      '@typescript-eslint/no-explicit-any': 'error'
    }
  },
  {
    files: ['lib/**/*.ts', 'examples/**/*.ts'],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': ['error', { checksVoidReturn: false }],
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }]
    }
  },
  {
    files: ['lib/**/*.ts'],
    rules: { 'no-console': 'error' }
  },
  {
    files: ['examples/*/public/**', 'examples/ai-answer/chat-page/**'],
    languageOptions: browser.languageOptions
  }
]
