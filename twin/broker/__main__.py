"""`python -m twin.broker`: the same commands as `citywhistle broker`, for `make install`."""

from twin.broker.command import app

app(prog_name="citywhistle broker")
