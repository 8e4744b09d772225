#!/usr/bin/env python3
"""What somebody who wants to break the service achieves: /livez and memory under attack.

    cargo build --release && python3 benches/attacks.py target/release/tidewatch

Starts the program on a free port and a private folder for each attack, asks /livez on new
connections all the while (every 20 ms), and prints for each: the 50th and 99th percentile and
the slowest answer, how many were no answer, and resident memory over the time of the attack.
Needs python3 alone. The figures are those of docs/reliability.md, "Attacks"."""
import base64, gzip, json, os, signal, socket, struct, subprocess, sys, tempfile, threading, time
import urllib.error, urllib.request

TW = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else sys.exit(__doc__)
ONLY = sys.argv[2:]


class Server:
    def __init__(self, config=""):
        self.folder = tempfile.TemporaryDirectory()
        path = os.path.join(self.folder.name, "c.toml")
        with open(path, "w") as file:
            file.write(config)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        args = ["serve", "--config", path, "--data-dir", self.folder.name + "/data"]
        self.process = subprocess.Popen([TW, *args, "--listen", f"127.0.0.1:{self.port}"],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.time() + 20
        while time.time() < deadline:
            try:
                return self.get("/readyz") and None
            except (OSError, urllib.error.URLError):
                time.sleep(0.05)
        sys.exit("the program does not get ready")

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def get(self, path):
        with urllib.request.urlopen(self.url(path), timeout=60) as answer:
            return answer.read()

    def post(self, body, headers={}):
        request = urllib.request.Request(self.url("/v1/events"), data=body, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            error.read()
            return error.code
        except OSError:
            return 0

    def connect(self, small=False):
        peer = socket.socket()
        if small:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.settimeout(10)
        peer.connect(("127.0.0.1", self.port))
        return peer

    def websocket(self, small=False):
        peer = self.connect(small)
        key = base64.b64encode(os.urandom(16)).decode()
        peer.sendall((f"GET /v1/ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                      f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n").encode())
        peer.recv(4096)
        return peer

    def rss(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmRSS"))

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.folder.cleanup()


def event(**more):
    return json.dumps({"ts": int(time.time() * 1000), "type": "cart_add", "amount": 1, **more})


def lines(events):
    return "\n".join(events).encode()


def at_once(count, work):
    threads = [threading.Thread(target=work, args=(n,)) for n in range(count)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]


def bombs(server):
    body = gzip.compress(b"[" + b"1," * 16_000_000 + b"1]", 9)
    at_once(8, lambda _: server.post(body, {"Content-Encoding": "gzip", "Content-Type": "application/json"}))


def packed(server):
    body = gzip.compress(b"[" + b"{}," * 9_999_999 + b"{}]\n", 9)
    at_once(4, lambda _: server.post(body, {"Content-Encoding": "gzip", "Content-Type": "application/x-ndjson"}))


def announced(server):
    peers = [server.connect() for _ in range(64)]
    for peer in peers:
        peer.sendall(b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8388608\r\n\r\n")
    refused = sum(server.post(event().encode()) != 202 for _ in range(100))
    time.sleep(2)
    return f"{refused} of 100 honest requests refused"


def half_sent(server):
    def one(_):
        peer = server.connect()
        try:
            peer.sendall(b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8388608\r\n\r\n")
            for _ in range(120):
                peer.sendall(b" " * 65536)
            time.sleep(4)
        except OSError:
            pass
    threads = [threading.Thread(target=one, args=(n,)) for n in range(48)]
    [thread.start() for thread in threads]
    time.sleep(1.5)
    refused = sum(server.post(event().encode()) != 202 for _ in range(100))
    [thread.join() for thread in threads]
    return f"{refused} of 100 honest requests refused"


def frames(server):
    sent = 0
    for _ in range(8):
        peer = server.websocket()
        try:
            peer.sendall(b"\x81\xff" + struct.pack(">Q", 8 << 30) + b"\0" * 4)
            for _ in range(1600):
                peer.sendall(b"x" * 65536)
                sent += 65536
        except OSError:
            pass
    return f"{sent >> 20} MiB could be sent"


def labels(server):
    for part in range(4):
        server.post(lines(event(user=f"u{n}", region=f"{n:05}" + "x" * 8000, status=500)
                          for n in range(part * 110, part * 110 + 110)))
    hello = json.dumps({"t": "hello", "id": 1, "v": [1],
                        "subs": [{"id": 2, "topic": "errors_by_region_status"}]}).encode()
    peers = []
    for _ in range(300):
        peer = server.websocket(small=True)
        peer.sendall(b"\x81" + bytes([0x80 | len(hello)]) + b"\0" * 4 + hello)
        peers.append(peer)
    time.sleep(6)
    return f"board {len(server.get('/v1/board')) >> 10} KiB"


def letters(server):
    for _ in range(30):
        server.post(b"[\x01" + b"\x01" * (8 * 1024 * 1024 - 10))
    time.sleep(1)
    at_once(6, lambda _: server.get("/v1/dead-letters?limit=1000"))


def bot(server):
    for part in range(20):
        server.post(lines(event(id=f"{part}-{n}", user="bot") for n in range(10_000)))


def ids(server):
    for part in range(30):
        server.post(lines(event(id=f"{part}-{n}", user=f"u{n}", type="x") for n in range(10_000)))


def keys(server):
    for part in range(25):
        server.post(lines(event(user="k" * 1000 + f"{part}-{n}") for n in range(800)))


def heads(server):
    peers = []
    for _ in range(2_000):
        try:
            peer = server.connect()
            peer.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
            peers.append(peer)
        except OSError:
            break
    time.sleep(4)


ATTACKS = [
    ("nothing", lambda server: time.sleep(4), ""),
    ("8 bodies of 31 KB that unpack to 32 MB", bombs, ""),
    ("4 lines that hold ten million events each", packed, ""),
    ("64 lengths announced, nothing sent", announced, ""),
    ("48 bodies sent but for the end", half_sent, ""),
    ("8 websocket frames of 8 GiB", frames, ""),
    ("440 labels of 8 KB, 300 browsers that never read", labels, ""),
    ("240 MB of dead letters, 6 readers", letters, ""),
    ("200,000 events of one key, since_entry", bot, '[session]\ndeadline = "since_entry"\n'),
    ("300,000 ids where 100,000 are kept", ids, "[pipeline]\ndedup_ids_max = 100000\n"),
    ("20,000 keys of 1 KB", keys, ""),
    ("2,000 heads that never end, 200 allowed", heads, "[web]\nconnections_max = 200\n"),
]


def curve(samples):
    step = max(1, len(samples) // 8)
    return " ".join(str(rss) for rss in samples[::step][:9])


print("| attack | /livez p50 ms | p99 | slowest | unanswered | resident MiB, over time | peak | |")
print("|---|---|---|---|---|---|---|---|")
for name, attack, config in ATTACKS:
    if ONLY and attack.__name__ not in ONLY:
        continue
    server = Server(config)
    taken, failed, memory, done = [], 0, [], threading.Event()

    def probe():
        global failed
        while not done.is_set():
            begin = time.time()
            try:
                server.get("/livez")
                taken.append((time.time() - begin) * 1e3)
            except OSError:
                failed += 1
            time.sleep(0.02)

    def sample():
        while not done.is_set():
            memory.append(server.rss())
            time.sleep(0.1)

    watch = [threading.Thread(target=probe), threading.Thread(target=sample)]
    [thread.start() for thread in watch]
    note = attack(server) or ""
    time.sleep(1)
    done.set()
    [thread.join() for thread in watch]
    server.end()
    taken.sort()
    at = lambda share: taken[min(len(taken) - 1, int(len(taken) * share))]
    print(f"| {name} | {at(.5):.1f} | {at(.99):.0f} | {taken[-1]:.0f} | {failed} | {curve(memory)} | {max(memory)} | {note} |",
          flush=True)
