import { join } from './hub.js'

self.onconnect = ({ ports: [port] }) => join(port)
