"""The dashboard for service leads (`ser dashboard`). Pages are rendered on the server, from views of the lake only."""
