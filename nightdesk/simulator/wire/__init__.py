"""The protocol's side: messages, frames, sockets, sessions."""
