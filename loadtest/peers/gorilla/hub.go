package main

import (
	"sync"

	"github.com/gorilla/websocket"
)

// Hub is one room. Its goroutine alone touches the set of members.
type Hub struct {
	name       string
	register   chan *Client
	unregister chan *Client
	broadcast  chan *websocket.PreparedMessage
	stop       chan struct{}
	// Members registered; guarded by the mutex of Rooms.
	members int
}

func (h *Hub) run() {
	clients := make(map[*Client]struct{})
	for {
		select {
		case client := <-h.register:
			clients[client] = struct{}{}
		case client := <-h.unregister:
			delete(clients, client)
		case message := <-h.broadcast:
			for client := range clients {
				if !client.enqueue(message) {
					delete(clients, client)
				}
			}
		case <-h.stop:
			return
		}
	}
}

// Rooms finds the hub of a room. A hub runs while the room has members.
type Rooms struct {
	mutex sync.Mutex
	hubs  map[string]*Hub
}

func newRooms() *Rooms {
	return &Rooms{hubs: make(map[string]*Hub)}
}

// join returns after the hub has taken the client, so that its next message reaches it.
func (r *Rooms) join(name string, client *Client) *Hub {
	r.mutex.Lock()
	hub := r.hubs[name]
	if hub == nil {
		hub = &Hub{
			name:       name,
			register:   make(chan *Client),
			unregister: make(chan *Client),
			broadcast:  make(chan *websocket.PreparedMessage),
			stop:       make(chan struct{}),
		}
		r.hubs[name] = hub
		go hub.run()
	}
	hub.members++
	r.mutex.Unlock()
	hub.register <- client
	return hub
}

func (r *Rooms) leave(hub *Hub, client *Client) {
	hub.unregister <- client
	r.mutex.Lock()
	defer r.mutex.Unlock()
	hub.members--
	if hub.members == 0 {
		delete(r.hubs, hub.name)
		close(hub.stop)
	}
}

// publish is for a client that is not a member; without members there is nobody to tell.
func (r *Rooms) publish(name string, message *websocket.PreparedMessage) {
	r.mutex.Lock()
	hub := r.hubs[name]
	r.mutex.Unlock()
	if hub == nil {
		return
	}
	select {
	case hub.broadcast <- message:
	case <-hub.stop:
	}
}
