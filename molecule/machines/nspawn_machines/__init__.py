"""systemd-nspawn machines for Molecule and the lab: layers of packages, networks, power buttons."""
