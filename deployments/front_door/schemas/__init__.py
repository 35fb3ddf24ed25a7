"""Request bodies, checked by pydantic. One file per endpoint or family of endpoints."""
