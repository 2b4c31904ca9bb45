"""node/store/: durable state in SQL.

`schema` the tables, `queries` and `views` the questions asked of them, `rows` what is written;
`stores` what the node holds, `engine` the groups of units below it, `database` what the engine
needs of SQLite (`sqlite`) or PostgreSQL.
"""
