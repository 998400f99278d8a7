-- One row for each visitor in the window. Events without a visitor count as one visitor, NULL.
-- The last four columns are those of the first event, also where it has no value.
SELECT
    visitor,
    count(*) AS n_interactions,
    min(event_time) AS first_seen,
    max(event_time) AS last_seen,
    first(adblock ORDER BY event_time, request_id) AS adblock,
    first(ip_address ORDER BY event_time, request_id) AS ip_address,
    first(user_agent ORDER BY event_time, request_id) AS user_agent,
    first(language ORDER BY event_time, request_id) AS language
FROM events
GROUP BY visitor
