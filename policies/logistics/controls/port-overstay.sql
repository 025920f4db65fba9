-- id: port-overstay
-- title: Time in port over the limit
-- title-zh: 在港时间超限
-- clause: port rules, art. 6: goods leave the port within the time allowed
-- clause-zh: 港口作业规则第六条：货物应在规定时限内离港
-- severity: medium
-- subject: port_call_id
-- owner: owner
SELECT port_call_id,
       owner,
       state AS port_state,
       handled,
       cleared,
       held,
       opened_at,
       limit_at,
       (:as_of_time - limit_at) / 3600000 AS over_hours
FROM logistics.port_call
WHERE state <> 'released' AND :as_of_time - limit_at > :grace_hours * 3600000
ORDER BY port_call_id
