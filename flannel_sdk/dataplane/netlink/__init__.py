"""The codec of the hot rtnetlink messages, and the sockets that carry them."""
