"""A gRPC service that says where it runs, and a client that asks it over and over.

    toy_grpc.py serve NAME PORT    prints the port, then serves until its standard input ends
    toy_grpc.py ask TARGET [METHOD]  prints an answer or an error per line, until its standard input ends
"""

import sys
import threading
import time
from concurrent import futures

import grpc


def serve(name, port):
    def where(_request, _context):
        return name.encode()

    handler = grpc.method_handlers_generic_handler(
        "toy.Toy", {"Where": grpc.unary_unary_rpc_method_handler(where)}
    )
    calls = []

    def unavailable(_request, context):
        calls.append(1)
        context.abort(grpc.StatusCode.UNAVAILABLE, f"{name} call {len(calls)}")

    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4), options=[("grpc.so_reuseport", 0)])
    slow = grpc.method_handlers_generic_handler(
        "toy.Slow", {"Fail": grpc.unary_unary_rpc_method_handler(unavailable)}
    )
    server.add_generic_rpc_handlers((handler, slow))
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    print(port, flush=True)
    sys.stdin.read()


def ask(target, method="/toy.Toy/Where"):
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    with grpc.insecure_channel(target) as channel:
        where = channel.unary_unary(method)
        while not stop.is_set():
            try:
                print(where(b"", timeout=5).decode(), flush=True)
            except grpc.RpcError as error:
                print(f"error: {error.code()} {error.details()}", flush=True)
            time.sleep(0.01)


if __name__ == "__main__":
    {"serve": serve, "ask": ask}[sys.argv[1]](*sys.argv[2:])
