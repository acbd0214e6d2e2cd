// Go's gorilla/websocket with compression: gorilla URL DATA.json
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

type message struct {
	Type string `json:"type"`
	Room string `json:"room,omitempty"`
	Data any    `json:"data,omitempty"`
}

func expect(conn *websocket.Conn, kind string) message {
	var got message
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		log.Fatal(err)
	}
	if err := conn.ReadJSON(&got); err != nil {
		log.Fatal(err)
	}
	if got.Type != kind {
		log.Fatalf("not %s: %v", kind, got)
	}
	return got
}

func send(conn *websocket.Conn, what message) {
	if err := conn.WriteJSON(what); err != nil {
		log.Fatal(err)
	}
}

func main() {
	text, err := os.ReadFile(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	var values []string
	if err := json.Unmarshal(text, &values); err != nil {
		log.Fatal(err)
	}
	dialer := websocket.Dialer{EnableCompression: true}
	conn, response, err := dialer.Dial(os.Args[1], nil)
	if err != nil {
		log.Fatal(err)
	}
	if !strings.Contains(response.Header.Get("Sec-WebSocket-Extensions"), "permessage-deflate") {
		log.Fatal("no compression")
	}
	expect(conn, "connected")
	send(conn, message{Type: "subscribe", Room: "deflate"})
	expect(conn, "subscribed")
	for _, data := range values {
		send(conn, message{Type: "publish", Room: "deflate", Data: data})
		if got := expect(conn, "message"); got.Data != data {
			log.Fatalf("%v is not %v", got.Data, data)
		}
	}
	goodbye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	if err := conn.WriteMessage(websocket.CloseMessage, goodbye); err != nil {
		log.Fatal(err)
	}
	if _, _, err := conn.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
		log.Fatal(err)
	}
	fmt.Println("done")
}
