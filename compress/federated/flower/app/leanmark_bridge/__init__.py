"""Relay of messages between leanmark's coordinator and its clients."""
