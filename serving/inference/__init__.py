"""The policy behind an endpoint: picture to code, chat, checkpoints, reload. Imports render, judge and http."""
