"""Arrow Flight and Flight SQL, the protocol of standard database drivers.

`flight_service.proto` and `flight_sql.proto` are Apache Arrow's `format/Flight.proto` and
`format/FlightSql.proto`, unchanged (apache/arrow, commit 515410b2a14ac766258e00b07eab9e5ee2692a62, Apache License
2.0, Copyright 2016-2026 The Apache Software Foundation).
"""
