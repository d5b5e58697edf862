"""A client of fastify-realtime.v1 over WebSocket (PROTOCOL.md 4), of Python's standard library alone. It is driven by
lines of JSON on stdin, and prints what it sees: docs/guides/other-clients.md."""
import base64, json, random, sys, threading, time
from rfc6455 import Socket

FINAL, REFUSED, TRIES = {1007, 1009, 4400, 4403}, {4401, 4403}, 2

class Client:
    def __init__(self, order):
        self.order, self.topics, self.tokens, self.renewed = order, order["topics"], order["tokens"], False
        self.places, self.broken, self.asked, self.wire = {}, {}, set(), None

    def run(self):
        while True:
            self.bye, self.error, code = {}, None, 0
            try:
                code = self.live()
            except (OSError, ValueError, KeyError, TypeError, IndexError):
                pass  # It was cut, fell silent, or could not be read: what is missing comes again.
            for n in [self.asked.pop() for _ in range(len(self.asked))]:
                tell(saw="failed", n=n)
            code = self.bye.get("code", code)
            if code in REFUSED and self.tokens and not self.renewed:
                self.renewed, self.tokens = True, self.tokens[1:] or self.tokens
                continue  # At once, with another token; where that is refused too, it is the end.
            if code in FINAL or not self.bye.get("reconnect", True):
                return tell(saw="over", code=self.error or str(code))
            # At random, so that those who were cut together do not return together.
            time.sleep(self.bye.get("retry", random.random() * self.order["delay"]) / 1000)

    def live(self):
        """One connection. Returns its close code."""
        wire = self.wire = Socket(self.order["url"], "fastify-realtime.v1", self.order["patience"] / 1000)
        with wire.tcp:
            wire.send({"op": "open", "cursors": self.places, "token": self.tokens[0] if self.tokens else ""})
            while True:
                opcode, payload = wire.frame()
                if opcode == 8:
                    return int.from_bytes(payload[:2], "big")
                if opcode == 9:
                    wire.send(payload, 10)
                if opcode == 1:
                    frame = json.loads(payload)
                    self.heard(frame) if "op" in frame else self.event(frame)
                if opcode == 2:
                    end = 4 + int.from_bytes(payload[:4], "big")
                    data = base64.b64encode(payload[end:]).decode()
                    self.event({**json.loads(payload[4:end]), "data": data}, bytes=True)

    def heard(self, frame):
        op, topic, ref = frame["op"], frame.get("topic"), frame.get("ref")
        if op == "open":
            self.wire.tcp.settimeout(frame["heartbeat"] * 1.5 / 1000)
            for name in self.topics:
                self.join(name)
        elif op == "subscribed" and "id" in frame and "recovered" not in frame or op in ("at", "reset", "snapshot"):
            self.move(topic, frame.get("id"))
        elif op == "error" and ref in self.asked or op == "reply":
            self.asked.discard(ref)
            answer = {"data": frame["data"]} if op == "reply" else {"code": frame["code"]}
            tell(saw="reply" if op == "reply" else "failed", n=ref, **answer)
        elif op == "unsubscribed" and frame.get("reason") == "expired" and self.tokens:
            self.refresh()
            self.join(topic)
        elif op == "error" and topic or op == "unsubscribed":
            tell(saw="error", topic=topic, code=frame.get("code", "FORBIDDEN"))
        elif op == "error":
            self.error = frame["code"]
        elif op == "bye":
            self.bye = frame
        if op in ("reset", "snapshot"):
            tell(saw=op, topic=topic, **({"data": frame["data"]} if op == "snapshot" else {}))
        if "expires" in frame and self.tokens:
            threading.Timer(frame["expires"] / 2000, self.refresh).start()

    def event(self, frame, **more):
        topic, id, place = frame.get("topic"), frame.get("id"), self.places.get(frame.get("topic"))
        if topic not in self.topics or id is not None and id == place:
            return
        if id is not None and place is not None and frame.get("prev") != place:
            self.broken[topic] = self.broken.get(topic, 0) + 1
            if self.broken[topic] <= TRIES:
                raise ConnectionError("a gap")
            tell(saw="reset", topic=topic)
        if id is not None:
            self.move(topic, id)
        tell(saw="event", topic=topic, event=frame["event"], id=id, data=frame["data"], **more)

    def move(self, topic, id):
        self.broken.pop(topic, None)
        self.places[topic] = id
        if id is None:
            del self.places[topic]

    def join(self, topic):
        place = {"id": self.places[topic]} if topic in self.places else {}
        self.wire.send({"op": "subscribe", "topic": topic, **place})

    def refresh(self):
        self.tokens = self.tokens[1:] or self.tokens
        self.wire.send({"op": "refresh", "token": self.tokens[0], "ref": "refresh"})

    def send(self, n, event, data):
        self.asked.add(n)
        self.wire.send({"event": event, "data": data, "ref": n})

def tell(**saw):
    print(json.dumps(saw), flush=True)

client = Client(json.loads(sys.stdin.readline()))
threading.Thread(target=client.run, daemon=True).start()
for order in map(json.loads, sys.stdin):
    if order["do"] == "close":
        break
    client.send(order["n"], order["event"], order["data"])
