"""Device profiles and one backend per kind of device."""
