"""Talks every dialect with the public `websockets` library: python dialects.py ws://HOST:PORT/ws"""

import asyncio
import json
import sys

import websockets

ROOM = "python"
DATA = {"text": "é😀", "big": "x" * 100_000}

# What each greets with, how it joins and is answered, how it publishes, and where what is published stands.
DIALECTS = {
    "rooms": ("connected", {"type": "subscribe", "room": ROOM}, "subscribed",
              {"type": "publish", "room": ROOM, "data": DATA}),
    "channels": (None, {"type": "JOIN_CHANNEL", "channel": ROOM}, "CHANNEL_JOINED",
                 {"type": "CHAT_MESSAGE", "channel": ROOM, "data": DATA}),
    "topics": ("welcome", {"type": "subscribe", "channel": ROOM}, "subscribed",
               {"type": "publish", "channel": ROOM, "data": DATA}),
    "tenants": ("connection", {"type": "join_channel", "data": {"channel": ROOM}}, "channel_joined",
                {"type": "send_message", "data": {"channel": ROOM, "message": DATA}}),
}


async def receive(client):
    return json.loads(await asyncio.wait_for(client.recv(), 10))


async def connect(url, dialect):
    client = await websockets.connect(url, subprotocols=[f"fanwire.{dialect}"], origin=None)
    assert client.subprotocol == f"fanwire.{dialect}", client.subprotocol
    greeting, join, joined, _ = DIALECTS[dialect]
    if greeting:
        assert (await receive(client))["type"] == greeting
    await client.send(json.dumps(join))
    assert (await receive(client))["type"] == joined
    return client


async def main(url):
    clients = {dialect: await connect(url, dialect) for dialect in DIALECTS}
    for publisher, (_, _, _, publish) in DIALECTS.items():
        # An iterable is sent as fragments.
        text = json.dumps(publish)
        await clients[publisher].send([text[:10], text[10:50_000], text[50_000:]])
        for dialect, client in clients.items():
            if dialect == publisher == "tenants":
                continue
            message = await receive(client)
            data = message["data"]["message"] if dialect == "tenants" else message["data"]
            assert data == DATA, (publisher, dialect)
    for dialect, client in clients.items():
        await client.send("nonsense")
        assert (await receive(client))["type"].lower() == "error", dialect
        await client.close(1000)
        assert client.close_code == 1000, client.close_code


asyncio.run(main(sys.argv[1]))
print("done")
