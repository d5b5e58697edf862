// nginx with nchan (C), where both are installed: Debian's nginx-light and libnginx-mod-nchan.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const find = (paths) => paths.find((path) => existsSync(path))
const NGINX = find(['/usr/sbin/nginx', '/usr/local/sbin/nginx', '/usr/bin/nginx'])
const MODULE = find(['/usr/lib/nginx/modules/ngx_nchan_module.so', '/usr/lib64/nginx/modules/ngx_nchan_module.so'])

// CPU is read from Linux's schedstat: /proc/<pid>/stat counts in hundredths of a second.
export const hasNchan = NGINX !== undefined && MODULE !== undefined && existsSync('/proc/self/schedstat')

const config = (folder, port) => `
load_module ${MODULE};
daemon off;
${process.getuid() === 0 ? 'user root;' : ''}
worker_processes 1;
pid ${folder}/pid;
error_log ${folder}/log warn;
events { worker_connections 16384; }
http {
  access_log off;
  keepalive_requests 1000000;
  ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${folder}/${kind};`).join(' ')}
  nchan_message_buffer_length 256;
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location = /publish { nchan_publisher; nchan_channel_id bench; }
    location = /sse { nchan_subscriber eventsource; nchan_channel_id bench; nchan_subscriber_first_message newest; }
    location = /websocket { nchan_subscriber websocket; nchan_channel_id bench; nchan_subscriber_first_message newest; }
  }
}
`

async function freePort () {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address()
  probe.close()
  return port
}

async function dial (port) {
  for (let tries = 0; tries < 100; tries++) {
    const socket = connect(port, '127.0.0.1')
    try {
      await once(socket, 'connect')
      return socket
    } catch {
      await sleep(50)
    }
  }
  throw new Error('nginx did not start')
}

/** The master listens before it forks. */
async function workerOf (pid) {
  for (let tries = 0; tries < 100; tries++) {
    const [worker] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')
    if (worker) return worker
    await sleep(50)
  }
  throw new Error('nginx has no worker')
}

/** Events are POSTed in one write of pipelined requests: the publisher's own work is not counted, reading them is. */
export async function startNchan (wire) {
  const folder = mkdtempSync(join(tmpdir(), 'bench-nchan-'))
  const port = await freePort()
  writeFileSync(join(folder, 'nginx.conf'), config(folder, port))
  const nginx = spawn(NGINX, ['-c', join(folder, 'nginx.conf'), '-p', folder], { stdio: ['ignore', 'ignore', 'inherit'] })
  process.on('exit', () => {
    nginx.kill()
    rmSync(folder, { recursive: true, force: true })
  })
  const publisher = await dial(port)
  publisher.resume()
  const worker = await workerOf(nginx.pid)
  const post = (text) => `POST /publish HTTP/1.1\r\nhost: bench\r\nx-eventsource-event: tick\r\ncontent-length: ${Buffer.byteLength(text)}\r\n\r\n${text}`
  return {
    port,
    wire,
    path: `/${wire}`,
    publish: (events) => { publisher.write(events.map((event) => post(JSON.stringify(event))).join('')) },
    cpu: () => Number(readFileSync(`/proc/${worker}/schedstat`, 'utf8').split(' ')[0]) / 1000
  }
}
