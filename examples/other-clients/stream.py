"""A client of native streams (PROTOCOL.md 2), of Python's standard library alone. It is driven by lines of JSON on
stdin, and prints what it sees: docs/guides/other-clients.md."""
import codecs, http.client, json, random, re, sys, threading, time
from urllib.parse import urlsplit

class Stream:
    def __init__(self, order):
        self.order, self.place, self.retry, self.over = order, "", None, False

    def run(self):
        while not self.over:
            status = 0
            try:
                status = self.live()
            except (OSError, http.client.HTTPException):
                pass  # Cut: it comes back to where it was.
            if 204 <= status < 500 and status not in (408, 425, 429):
                self.over = True
            elif not self.over:
                delay = random.random() * self.order["delay"] if self.retry is None else self.retry
                time.sleep(delay / 1000)
        tell(saw="over")

    def live(self):
        """One response. Returns its status, or 0 where it was a stream that has ended."""
        at = urlsplit(self.order["url"])
        asked = {"accept": "text/event-stream", **({"last-event-id": self.place} if self.place else {})}
        connection = http.client.HTTPConnection(at.hostname, at.port)
        connection.request("GET", at.path, headers=asked)
        response = connection.getresponse()
        if response.status != 200 or "text/event-stream" not in response.getheader("content-type", ""):
            return 0 if response.status == 200 else response.status
        text, rest, self.block = codecs.getincrementaldecoder("utf-8-sig")(), "", {}
        while not self.over:
            part = response.read1(65536)
            if not part:
                return 0  # What stands without an empty line behind it is no event.
            *lines, rest = re.split(r"\r\n|\n|\r(?!\Z)", rest + text.decode(part))
            for line in lines:
                self.line(line)
        return 0

    def line(self, line):
        field, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if line == "":
            self.dispatch(**self.block)
            self.block = {}
        elif field == "data":
            self.block["data"] = self.block["data"] + "\n" + value if "data" in self.block else value
        elif field in ("event", "id"):
            self.block[field] = value
        elif field == "retry" and value.isdigit():
            self.retry = int(value)

    def dispatch(self, event="message", data=None, id=None):
        self.place = self.place if id is None else id
        if event in ("realtime:end", "realtime:aborted"):
            self.over = True
        elif event == "realtime:reset":
            tell(saw="reset")
        elif data is not None and event in self.order["events"]:
            tell(saw="event", event=event, id=self.place, data=parsed(data))

def parsed(text):
    try:
        return json.loads(text)
    except ValueError:
        return text

def tell(**saw):
    print(json.dumps(saw), flush=True)

threading.Thread(target=Stream(json.loads(sys.stdin.readline())).run, daemon=True).start()
for order in map(json.loads, sys.stdin):
    if order["do"] == "close":
        break
