"""Other hosts at the writer's tcp endpoints: who may come, what he may do, and how that is said.

`rights` and `zap` are pure, `allow_list` is text and the file it is in; `allowed_keys` is that file
in a running writer, `tcp_endpoints` has the sockets, `handshakes` hears who failed at them, and
`turned_away` counts and says what was refused. `client_entries` has the log itself say who may
write to it.
"""
