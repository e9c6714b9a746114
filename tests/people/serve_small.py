"""A small site for tests of the server: echo over HTTP and WebSocket. Arguments: port, token, and a
folder for a certificate if it shall be encrypted."""

import asyncio
import sys
from pathlib import Path

from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router, WebSocketRoute

from mili_jax.people import lan, serving
from mili_jax.people.limits import Limits
from mili_jax.types import DataError
from mili_jax.workers import stopping


async def home(request):
    return Response("<p>home</p>", media_type="text/html")


async def echo(request):
    return JSONResponse({"size": len(await request.body())})


async def refuses(request):
    raise DataError("file x is damaged; restore it")


async def breaks(request):
    raise ZeroDivisionError


async def big(request):
    return Response(b"x" * (64 << 20))


async def slow(request):
    await asyncio.sleep(60)
    return Response("late")


async def echo_socket(websocket):
    await websocket.accept()
    while True:
        await websocket.send_text(await websocket.receive_text())


async def flood(websocket):
    await websocket.accept()
    while True:
        await websocket.send_bytes(b"x" * 60000)


app = Router(
    routes=[
        Route("/", home),
        Route("/echo", echo, methods=["POST"]),
        Route("/refuses", refuses),
        Route("/breaks", breaks),
        Route("/big", big),
        Route("/slow", slow),
        WebSocketRoute("/ws", echo_socket),
        WebSocketRoute("/flood", flood),
    ]
)

if __name__ == "__main__":
    stopping.listen()
    limits = Limits(patience=1.5, answer=3.0, connections=40)
    listening = serving.bind(int(sys.argv[1]))
    tls = lan.certificate(Path(sys.argv[3]), serving.HOST) if sys.argv[3:] else None
    token = sys.argv[2]
    serving.serve(app, name="small", listening=listening, token=token, limits=limits, tls=tls)
    raise stopping.stopped("with all answered")
