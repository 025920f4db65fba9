-- id: counter-back
-- title: Hour counters of leased devices that went backwards
-- title-zh: 租赁物工时读数倒退
-- clause: leasing supervision rules, art. 7: a counter is not turned back
-- clause-zh: 租赁监管规则第七条：不得回拨工时计数器
-- severity: critical
-- subject: device
-- owner: owner
SELECT step.device AS device,
       device.owner AS owner,
       COUNT(*) AS readings,
       MAX(step.before - step.value) AS turned_back,
       MIN(step.measured_at) AS first_at,
       MAX(step.measured_at) AS last_at
FROM (SELECT device,
             value,
             measured_at,
             LAG(value) OVER (PARTITION BY device ORDER BY sequence, position) AS before
      FROM operation_supervision.reading
      WHERE metric = 'hours') AS step
JOIN device_registry.device AS device ON device.device_id = step.device
JOIN leasing.meter AS meter ON meter.device = step.device AND meter.lease IS NOT NULL
WHERE step.before - step.value > :tolerance
GROUP BY step.device
ORDER BY step.device
