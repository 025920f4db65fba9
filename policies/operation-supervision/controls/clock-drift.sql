-- id: clock-drift
-- title: Devices whose clock runs ahead of the ledger
-- title-zh: 时钟超前的设备
-- clause: operation supervision rules, art. 6: measured times are plausible
-- severity: low
-- subject: device
SELECT device,
       COUNT(*) AS readings,
       MAX(measured_at - recorded_time) AS ahead_ms
FROM operation_supervision.reading
WHERE measured_at - recorded_time > :most
GROUP BY device
ORDER BY device
