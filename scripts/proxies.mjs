// The proxies that the long tests start: what an environment variable names, one on PATH or beside it, or Debian's package.

import { join } from 'node:path'
import { aptInstall, given, isExecutable, onPath } from './programs.mjs'

const programs = {
  NGINX_BIN: { program: 'nginx', package: 'nginx-light' },
  HAPROXY_BIN: { program: 'haproxy', package: 'haproxy' },
  APACHE_BIN: { program: 'apache2', package: 'apache2' },
  VARNISH_BIN: { program: 'varnishd', package: 'varnish' },
  CADDY_BIN: { program: 'caddy', package: 'caddy' }
}

/** Sets the variables: empty where there is none, and then that proxy is not tried. Resolves with what has to be said of them. */
export async function findProxies () {
  const faults = []
  for (const [variable, { program, package: debian }] of Object.entries(programs)) {
    const fault = await findProxy(variable, program, debian)
    if (fault) faults.push(fault)
  }
  return faults.length > 0 ? faults.join('; ') : undefined
}

/** A fault is a wrong variable, or a package that apt did not bring. Without root none can be brought. */
async function findProxy (variable, program, debian) {
  if (process.env[variable]) return given(variable) ? undefined : `${variable} is no program`
  const tried = !find(program) && await aptInstall(debian)
  process.env[variable] = find(program) ?? ''
  if (process.env[variable]) return
  console.error(`${program} is not here, and not tried: install ${debian} (on Debian: sudo apt-get install ${debian}), or set ${variable} to its path.`)
  return tried ? `apt-get did not bring ${debian}` : undefined
}

/** Servers lie where the PATH of others than root does not lead. */
function find (program) {
  return onPath(program) ?? ['/usr/sbin', '/usr/local/sbin'].map((folder) => join(folder, program)).find(isExecutable)
}
