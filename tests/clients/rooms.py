"""Talks the rooms protocol with the public `websockets` library: python rooms.py ws://HOST:PORT/ws"""

import asyncio
import json
import sys

import websockets


async def expect(client, kind):
    message = json.loads(await asyncio.wait_for(client.recv(), 10))
    assert message["type"] == kind, message
    return message


async def main(url):
    # Compression is offered by default; the server may take it or leave it.
    async with websockets.connect(url) as first, websockets.connect(url) as second:
        ids = [(await expect(c, "connected"))["data"]["client_id"] for c in (first, second)]
        for count, client in enumerate((first, second), 1):
            await client.send(json.dumps({"type": "subscribe", "room": "python"}))
            subscribed = await expect(client, "subscribed")
            assert subscribed["data"] == {"room": "python", "client_count": count}, subscribed
        data = {"text": "é😀", "big": "x" * 100_000}
        # An iterable is sent as fragments.
        text = json.dumps({"type": "publish", "room": "python", "data": data})
        await second.send([text[:10], text[10:50_000], text[50_000:]])
        for client in (first, second):
            message = await expect(client, "message")
            assert message["data"] == data and message["client_id"] == ids[1]
        await asyncio.wait_for(await first.ping(b"are you there"), 10)
        await first.close(4000, "done")
        assert first.close_code == 4000, first.close_code


asyncio.run(main(sys.argv[1]))
print("done")
