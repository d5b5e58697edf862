"""A WebSocket (RFC 6455), as far as channel.py needs one: most languages have a library for it."""
import base64, json, os, socket, struct, threading
from urllib.parse import urlsplit

class Socket:
    """A server that is silent for longer than `patience` seconds is gone."""
    def __init__(self, url, protocol, patience):
        at, key = urlsplit(url), base64.b64encode(os.urandom(16)).decode()
        self.tcp, self.lock = socket.create_connection((at.hostname, at.port), patience), threading.Lock()
        self.file = self.tcp.makefile("rb")
        self.tcp.sendall((f"GET {at.path} HTTP/1.1\r\nHost: {at.netloc}\r\nUpgrade: websocket\r\n"
                          f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
                          f"Sec-WebSocket-Protocol: {protocol}\r\n\r\n").encode())
        head = list(iter(self.file.readline, b"\r\n"))
        if b" 101 " not in head[0]:
            raise ConnectionError(head[0])

    def take(self, size):
        data = self.file.read(size)
        if len(data) < size:
            raise ConnectionError("cut")
        return data

    def frame(self):
        first, size = self.take(2)
        if size > 125:
            size = int.from_bytes(self.take(2 if size == 126 else 8), "big")
        return first & 15, self.take(size)

    def send(self, payload, opcode=1):
        payload = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        head = struct.pack(">BBH", 128 | opcode, 254, len(payload)) if len(payload) > 125 \
            else bytes([128 | opcode, 128 | len(payload)])
        with self.lock:
            self.tcp.sendall(head + bytes(4) + payload)  # A mask of zeros is one.
