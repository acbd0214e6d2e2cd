"""Python's aiohttp with compression: python aiohttp_client.py URL DATA.json WINDOW_BITS"""

import asyncio
import json
import sys

import aiohttp


async def expect(client, kind):
    message = await client.receive_json(timeout=10)
    assert message["type"] == kind, message
    return message


async def main(url, values, window_bits):
    async with aiohttp.ClientSession() as session, session.ws_connect(url, compress=window_bits) as client:
        await expect(client, "connected")
        assert client.compress, "no compression"
        await client.send_json({"type": "subscribe", "room": "deflate"})
        await expect(client, "subscribed")
        for data in values:
            await client.send_json({"type": "publish", "room": "deflate", "data": data})
            message = await expect(client, "message")
            assert message["data"] == data
        await client.close()
        assert client.close_code == 1000, client.close_code


with open(sys.argv[2], encoding="utf-8") as file:
    asyncio.run(main(sys.argv[1], json.load(file), int(sys.argv[3])))
print("done")
