// A room broadcaster on gorilla/websocket, after the hub of the library's chat example: a goroutine
// per room owns the set of its members, each member has a buffered channel and a goroutine that
// writes what comes out of it. A member whose channel is full is cut off.
//
// Unlike the example, a frame holds one message, and it is prepared once for all members. Takes its
// port from PORT and as many threads as it may use cores.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/gorilla/websocket"
)

const (
	// Time that one write to a member may take.
	writeWait = 10 * time.Second
	// A member is gone when it has not answered a ping for so long.
	pongWait = 60 * time.Second
	// Pings must come more often than pongWait.
	pingPeriod = pongWait * 9 / 10
	// Messages that a member may be behind.
	sendBuffer = 256
)

type request struct {
	Type string          `json:"type"`
	Room string          `json:"room"`
	Data json.RawMessage `json:"data"`
}

type response struct {
	Type string          `json:"type"`
	Room string          `json:"room"`
	Data json.RawMessage `json:"data,omitempty"`
}

func prepare(r response) (*websocket.PreparedMessage, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return websocket.NewPreparedMessage(websocket.TextMessage, text)
}

// Client is one connection. It may be a member of several rooms.
type Client struct {
	conn *websocket.Conn
	send chan *websocket.PreparedMessage
	// Closed when the connection has ended.
	done chan struct{}
	// Rooms joined; only readPump touches it.
	hubs map[string]*Hub
}

// enqueue never waits: a client that is sendBuffer messages behind is cut off.
func (c *Client) enqueue(message *websocket.PreparedMessage) bool {
	select {
	case c.send <- message:
		return true
	default:
		c.conn.Close() // Ends both pumps.
		return false
	}
}

func (c *Client) readPump(rooms *Rooms) {
	defer func() {
		for _, hub := range c.hubs {
			rooms.leave(hub, c)
		}
		close(c.done)
		c.conn.Close()
	}()
	c.conn.SetReadDeadline(time.Now().Add(pongWait))
	c.conn.SetPongHandler(func(string) error {
		return c.conn.SetReadDeadline(time.Now().Add(pongWait))
	})
	for {
		var req request
		if err := c.conn.ReadJSON(&req); err != nil {
			return
		}
		if err := c.handle(rooms, req); err != nil {
			return
		}
	}
}

func (c *Client) handle(rooms *Rooms, req request) error {
	hub := c.hubs[req.Room]
	switch req.Type {
	case "subscribe":
		if hub == nil {
			c.hubs[req.Room] = rooms.join(req.Room, c)
		}
		return c.answer("subscribed", req.Room)
	case "unsubscribe":
		if hub != nil {
			delete(c.hubs, req.Room)
			rooms.leave(hub, c)
		}
		return c.answer("unsubscribed", req.Room)
	case "publish":
		message, err := prepare(response{Type: "message", Room: req.Room, Data: req.Data})
		if err != nil {
			return err
		}
		if hub != nil {
			hub.broadcast <- message
		} else {
			rooms.publish(req.Room, message)
		}
		return nil
	default:
		return fmt.Errorf("unknown type %q", req.Type)
	}
}

func (c *Client) answer(kind, room string) error {
	message, err := prepare(response{Type: kind, Room: room})
	if err == nil {
		c.enqueue(message)
	}
	return err
}

func (c *Client) writePump() {
	ticker := time.NewTicker(pingPeriod)
	defer func() {
		ticker.Stop()
		c.conn.Close()
	}()
	for {
		select {
		case message := <-c.send:
			c.conn.SetWriteDeadline(time.Now().Add(writeWait))
			if err := c.conn.WritePreparedMessage(message); err != nil {
				return
			}
		case <-ticker.C:
			deadline := time.Now().Add(writeWait)
			if err := c.conn.WriteControl(websocket.PingMessage, nil, deadline); err != nil {
				return
			}
		case <-c.done:
			return
		}
	}
}

func main() {
	rooms := newRooms()
	upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	http.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return // Upgrade has answered.
		}
		client := &Client{
			conn: conn,
			send: make(chan *websocket.PreparedMessage, sendBuffer),
			done: make(chan struct{}),
			hubs: make(map[string]*Hub),
		}
		go client.writePump()
		go client.readPump(rooms)
	})
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening")
	log.Fatal(http.Serve(listener, nil))
}
