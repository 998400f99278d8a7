-- One row for each event in the window.
SELECT
    request_id,
    visitor,
    pathname AS page,
    type AS action,
    event_time
FROM events
