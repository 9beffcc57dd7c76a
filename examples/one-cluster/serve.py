#!/usr/bin/env python3
"""A service to try things with: answers on port 8080 of each loopback address given, and says which one it is."""

import http.server
import sys
import threading


class Endpoint(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = f"served by {self.server.server_address[0]}\n".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


if len(sys.argv) < 2:
    sys.exit("usage: serve.py ADDRESS...   (for example: serve.py 127.0.0.11 127.0.0.12)")
for address in sys.argv[1:]:
    server = http.server.ThreadingHTTPServer((address, 8080), Endpoint)
    threading.Thread(target=server.serve_forever).start()
