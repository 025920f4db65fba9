-- id: failed-triggers
-- title: Calls of devices that came to nothing
-- title-zh: 未能成立的设备自动报修
-- clause: maintenance rules, art. 5: when a device calls for help, an order is opened, or it is said why not
-- clause-zh: 设备维修规则第五条：设备自动报修应形成工单，未形成的应说明原因
-- severity: high
-- subject: cause
-- each: happened
SELECT "key" AS cause,
       name || ': ' || outcome AS happened,
       COUNT(*) AS times,
       MIN(time) AS first_at,
       MAX(time) AS last_at
FROM ledger.triggered
WHERE trigger_contract = 'maintenance' AND outcome <> 'accepted'
GROUP BY "key", name, outcome
ORDER BY "key", name, outcome
