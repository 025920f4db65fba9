-- id: silent-logger
-- title: Goods on their way whose logger is silent or was never attached
-- title-zh: 在途货物的记录仪静默或未启用
-- clause: cold chain rules, art. 7: the condition of the goods is recorded without gaps
-- clause-zh: 冷链运输规则第七条：货物状态应不间断记录
-- severity: high
-- subject: consignment_id
-- owner: owner
SELECT consignment.consignment_id AS consignment_id,
       consignment.custodian AS owner,
       consignment.device AS device,
       COUNT(logger.logger_id) > 0 AS attached,
       MAX(reading.recorded_time) AS last_heard_at
FROM logistics.consignment AS consignment
LEFT JOIN logistics.logger AS logger
  ON logger.consignment = consignment.consignment_id
LEFT JOIN operation_supervision.reading AS reading
  ON reading.device = logger.logger_id
WHERE consignment.state = 'moving' AND consignment.device IS NOT NULL
GROUP BY consignment.consignment_id
HAVING MAX(reading.recorded_time) IS NULL
    OR :as_of_time - MAX(reading.recorded_time) > :max_gap
ORDER BY consignment.consignment_id
