"""Drills: what a cloud looked like while something was broken on purpose, and whether it went as expected."""
