"""The page for service leads: `ser dashboard`. Pages are made on the server, over views of the lake only."""
