"""One named test per rule of the dissertation. `docs/paper-map.md` says which test holds which rule."""
