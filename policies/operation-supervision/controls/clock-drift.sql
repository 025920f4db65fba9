-- id: clock-drift
-- title: Devices whose clock runs ahead of the ledger
-- title-zh: 时钟超前的设备
-- clause: operation supervision rules, art. 6: measured times are plausible
-- clause-zh: 运行监管规则第六条：测量时间应当合理
-- severity: low
-- subject: device
-- owner: owner
SELECT reading.device AS device,
       device.owner AS owner,
       COUNT(*) AS readings,
       MAX(reading.measured_at - reading.recorded_time) AS ahead_by,
       MIN(reading.recorded_time) AS first_recorded_at,
       MAX(reading.recorded_time) AS last_recorded_at
FROM operation_supervision.reading AS reading
JOIN device_registry.device AS device
  ON device.device_id = reading.device
WHERE reading.measured_at - reading.recorded_time > :most
GROUP BY reading.device
ORDER BY reading.device
