"""node/store/: durable state in SQL.

`schema` the tables, `migrations` the way from older ones; `queries`, `views` and `transfers` the
questions asked of them (`query` says how), `rows` what is written; `stores` what the node holds,
`engine` the groups of units below it, `merge` and `statements` how their rows are written together;
`database` what the engine needs of SQLite (`sqlite`) or PostgreSQL (`postgres`), `opening` which of
the two it is.
"""
