"""The made-up world: the real decisions against made-up hosts and a made-up clock.

A scenario in, a log out.
"""
