-- id: inactive-reading
-- title: Readings recorded after their device was suspended or revoked
-- title-zh: 设备停用或吊销后仍被记录的读数
-- clause: operation supervision rules, art. 2: only devices in service report
-- clause-zh: 运行监管规则第二条：只有在用设备方可上报读数
-- severity: critical
-- subject: device
-- owner: owner
SELECT device.device_id AS device,
       device.state AS device_state,
       device.owner AS owner,
       COUNT(*) AS readings,
       MIN(reading.recorded_time) AS first_recorded_at,
       MAX(reading.recorded_time) AS last_recorded_at
FROM device_registry.device AS device
JOIN operation_supervision.reading AS reading
  ON reading.device = device.device_id
WHERE device.state <> 'active' AND reading.recorded_time > device.changed_at
GROUP BY device.device_id
ORDER BY device.device_id
