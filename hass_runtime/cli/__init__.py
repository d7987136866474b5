"""The `hass` command. `main` knows the commands by name and imports each one only when it is used."""
