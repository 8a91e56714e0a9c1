package machine

// Asker is a small client in the machine, which has neither curl nor nc:
//
//	ask METHOD URL [HEADER]     over TCP
//	ask unix SOCKET PATH        HTTP over a unix socket
//	ask udp ADDRESS PORT        a datagram, and the one that answers it
//	ask metadata ADDRESS PATH   a token of the metadata service, and what it is good for
//
// It prints the status and the body, and fails if there is no answer.
func Asker() Plant {
	return Plant{Path: AskerPath, Mode: 0o755, Data: []byte(`#!/usr/bin/python3
import http.client, socket, sys, urllib.parse
def send(c, method, path, headers={}):
    c.request(method, path, headers=headers)
    r = c.getresponse()
    return r.status, r.read().decode()
def connect(address):
    return http.client.HTTPConnection(address, 80, timeout=20)
def main(kind, *args):
    if kind == "unix":
        c = http.client.HTTPConnection("localhost", timeout=20)
        c.sock = socket.socket(socket.AF_UNIX)
        c.sock.settimeout(20)
        c.sock.connect(args[0])
        return send(c, "GET", args[1])
    if kind == "udp":
        s = socket.socket(socket.AF_INET6 if ":" in args[0] else socket.AF_INET, socket.SOCK_DGRAM)
        s.settimeout(20)
        s.connect((args[0], int(args[1])))
        s.send(b"hello")
        return 200, s.recv(1500).decode()
    if kind == "metadata":
        status, token = send(connect(args[0]), "PUT", "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"})
        if status != 200:
            return status, token
        return send(connect(args[0]), "GET", args[1], {"X-aws-ec2-metadata-token": token})
    u = urllib.parse.urlsplit(args[0])
    headers = dict(h.split(": ", 1) for h in args[1:])
    return send(http.client.HTTPConnection(u.hostname, u.port or 80, timeout=20), kind, u.path, headers)
try:
    print(*main(*sys.argv[1:]))
except OSError as e:
    sys.exit(str(e))
`)}
}

// AskerPath is where Asker is.
const AskerPath = "/opt/ask"
