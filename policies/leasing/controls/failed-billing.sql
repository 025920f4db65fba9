-- id: failed-billing
-- title: Readings and dates that could not be billed
-- title-zh: 未能计费的读数或日期
-- clause: leasing supervision rules, art. 7: what a device reports is billed, or it is said why not
-- clause-zh: 租赁监管规则第七条：设备读数应予计费，未计费的应说明原因
-- severity: high
-- subject: device
-- each: outcome
SELECT "key" AS device,
       outcome,
       COUNT(*) AS times,
       MIN(time) AS first_at,
       MAX(time) AS last_at
FROM ledger.triggered
WHERE trigger_contract = 'leasing' AND outcome <> 'accepted'
GROUP BY "key", outcome
ORDER BY "key", outcome
