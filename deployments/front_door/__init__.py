"""The HTTP front door: an ASGI application, free of Ray. Start at `app.create_app`."""
