"""The kit of the black-box tests: it starts servers, speaks raw HTTP and WebSocket, and drives real clients."""
