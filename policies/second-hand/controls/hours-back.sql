-- id: hours-back
-- title: Devices whose hour counter went backwards
-- title-zh: 工时读数倒退的设备
-- clause: second-hand trade rules, art. 6: a counter is not turned back
-- clause-zh: 二手设备交易规则第六条：不得回拨工时计数器
-- severity: critical
-- subject: device
-- owner: owner
SELECT step.device AS device,
       device.owner AS owner,
       COUNT(*) AS readings,
       MAX(step.before) AS highest,
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
WHERE step.before - step.value > :tolerance
GROUP BY step.device
ORDER BY step.device
