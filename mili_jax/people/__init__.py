"""What people do with a robot in a browser: answer for its trials, and demonstrate.

`serving` is the server under every page. It answers on this machine alone and to whoever has the
token; `gate` says what may come in, `connections` what may stay.
"""
