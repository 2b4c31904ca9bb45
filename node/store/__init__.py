"""node/store/: durable state in SQL. Schema, the group-committing writer, and named queries."""
