"""Python's websockets with compression: python websockets_client.py URL DATA.json OPTIONS

OPTIONS, as JSON, are those of its ClientPerMessageDeflateFactory; none leaves what it does by default.
"""

import asyncio
import json
import sys

import websockets
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory


async def expect(client, kind):
    message = json.loads(await asyncio.wait_for(client.recv(), 10))
    assert message["type"] == kind, message
    return message


async def main(url, values, options):
    own = {"compression": None, "extensions": [ClientPerMessageDeflateFactory(**options)]} if options else {}
    async with websockets.connect(url, **own) as client:
        await expect(client, "connected")
        assert client.protocol.extensions, "no compression"
        await client.send(json.dumps({"type": "subscribe", "room": "deflate"}))
        await expect(client, "subscribed")
        for data in values:
            text = json.dumps({"type": "publish", "room": "deflate", "data": data})
            # An iterable is sent as fragments.
            await client.send([text[:10], text[10:100], text[100:]])
            message = await expect(client, "message")
            assert message["data"] == data
        await client.close()
        assert client.close_code == 1000, client.close_code


with open(sys.argv[2], encoding="utf-8") as file:
    asyncio.run(main(sys.argv[1], json.load(file), json.loads(sys.argv[3])))
print("done")
